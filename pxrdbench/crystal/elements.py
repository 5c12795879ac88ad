"""The elements by atomic number."""

# Order by atomic number; index 0 is no element.
_SYMBOLS = """
X  H  He Li Be B  C  N  O  F  Ne Na Mg Al Si P  S  Cl Ar K  Ca Sc Ti V  Cr Mn Fe Co Ni
Cu Zn Ga Ge As Se Br Kr Rb Sr Y  Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I  Xe
Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W  Re Os Ir Pt Au Hg
Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U  Np Pu Am Cm Bk Cf
"""


ELEMENT_SYMBOLS: tuple[str, ...] = tuple(_SYMBOLS.split())


ATOMIC_NUMBERS: dict[str, int] = {s: z for z, s in enumerate(ELEMENT_SYMBOLS) if z}
