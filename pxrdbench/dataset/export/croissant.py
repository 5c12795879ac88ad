"""A data card as Croissant: what search engines and loaders of others read.

References:
    MLCommons Croissant format specification 1.0 and its RAI vocabulary 1.0.
"""

import json
from pathlib import Path
from typing import Any

from pxrdbench.dataset.export.card import LICENCE_URLS, Column, DataCard, DataConfig
from pxrdbench.files import write_atomically

CROISSANT_NAME = "croissant.json"

_CONFORMS_TO = (
    "http://mlcommons.org/croissant/1.0",
    "http://mlcommons.org/croissant/RAI/1.0",
)
# The context that the specification prescribes (appendix 1 of version 1.0).
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_DATA_TYPES = {
    "string": "sc:Text",
    "binary": "sc:Text",  # Croissant 1.0 has no type for bytes
    "bool": "sc:Boolean",
    "int8": "cr:Int8",
    "int16": "cr:Int16",
    "int32": "cr:Int32",
    "int64": "cr:Int64",
    "uint8": "cr:UInt8",
    "uint16": "cr:UInt16",
    "uint32": "cr:UInt32",
    "float16": "cr:Float16",
    "float32": "cr:Float32",
    "float64": "cr:Float64",
}
_ENCODINGS = {
    ".parquet": "application/x-parquet",
    ".tar": "application/x-tar",
    ".h5": "application/x-hdf5",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
}


def write_croissant(folder: Path, card: DataCard) -> Path:
    """Write a card as ``croissant.json``; equal cards give equal bytes.

    Every file stands in it with its sha256. Each part of a configuration with columns
    is a record set ``<configuration>/<part>``.

    Returns:
        The file.
    """
    text = json.dumps(make_croissant(card), indent=1, ensure_ascii=False)
    path = folder / CROISSANT_NAME
    write_atomically(path, text + "\n")
    return path


def make_croissant(card: DataCard) -> dict[str, Any]:
    """Make the JSON-LD of a card."""
    notes = {
        "rai:dataCollection": card.collection,
        "rai:dataUseCases": list(card.use_cases),
        "rai:dataLimitations": list(card.limitations),
        "rai:dataBiases": list(card.biases),
    }
    optional = {
        "datePublished": card.released,
        "url": card.url,
        "citeAs": "; ".join(card.attributions),
        **notes,
    }
    files: dict[str, dict[str, Any]] = {}
    for config in card.configs:
        for file in config.files:
            files[file.path] = _file_object(file.path, file.n_bytes, file.sha256)
    sets, records = [], []
    for config in card.configs:
        for split in config.splits:
            if not config.columns:
                continue
            paths = [file.path for file in config.files_of(split)]
            source = {"fileObject": {"@id": paths[0]}}
            if len(paths) > 1:
                name = f"{config.name}-{split}-files"
                sets.append(_file_set(name, paths))
                source = {"fileSet": {"@id": name}}
            records.append(_record_set(config, split, source))
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(_CONFORMS_TO),
        "name": card.name,
        "description": card.description,
        "license": LICENCE_URLS.get(card.licence, card.licence),
        "version": card.version,
        "keywords": list(card.keywords),
        "creator": {"@type": "sc:Organization", "name": "The pxrdbench developers"},
        **{key: value for key, value in optional.items() if value},
        "distribution": [*files.values(), *sets],
        "recordSet": records,
    }


def _file_object(path: str, n_bytes: int, sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{n_bytes} B",
        "encodingFormat": _encoding(path),
        "sha256": sha256,
    }


def _file_set(name: str, paths: list[str]) -> dict[str, Any]:
    """Put the files of a part together; paths are below the folder of the card."""
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "encodingFormat": _encoding(paths[0]),
        "includes": paths,
    }


def _encoding(path: str) -> str:
    return _ENCODINGS.get(Path(path).suffix, "application/octet-stream")


def _record_set(
    config: DataConfig, split: str, source: dict[str, Any]
) -> dict[str, Any]:
    name = f"{config.name}/{split}"
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"{config.description} Part {split}.",
        "field": [_field(name, column, source) for column in config.columns],
    }


def _field(record: str, column: Column, source: dict[str, Any]) -> dict[str, Any]:
    described = column.description
    if column.classes:
        described += f" Classes: {', '.join(column.classes)}."
    dtype = "int64" if column.classes else column.dtype
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{record}/{column.name}",
        "name": column.name,
        "description": described,
        "dataType": _DATA_TYPES[dtype],
        "source": {**source, "extract": {"column": column.name}},
    }
    if column.is_list:
        field["repeated"] = True
    return field
