"""The text of a CIF becomes a crystal, or a reason why it cannot.

One path for every command: the text is decoded (`text`), each row of the atom table is
read as itself (`rows`, `elements`), the operations that the block may mean are listed
(`settings`), the atoms are put in place (`build`), and what came out is compared with
what the block says of itself (`checks`). `read` keeps the reading that fits.
"""
