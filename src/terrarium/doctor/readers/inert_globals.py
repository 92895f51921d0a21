"""Which globals a pickle may name, and what calling them gives here. None is ever imported or called.

A few that torch and numpy write into every checkpoint are known, and turn into data. Some are known to run
something when they are called: a file that names one is hostile. All others are opaque.
"""

from __future__ import annotations

import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable

import numpy as np

from terrarium.doctor.readers.inert_objects import Array, ArrayType, Global, Opaque, Storage, Tensor
from terrarium.run.tensors import dtype_name

_ARRAY_TYPE = re.compile(r"[biufc]\d\d?")
_STORAGE_TYPES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
    "UntypedStorage": "U8",
}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Whole modules that a checkpoint has no business with, and single names of modules that others may be called
# like too (somebody's own `code` or `trace`).
_DANGEROUS_MODULES = _names(
    """os posix nt subprocess sys importlib imp runpy pty shutil socket ctypes pdb bdb timeit webbrowser
    requests http ftplib smtplib telnetlib asyncio multiprocessing pip marshal pickle _pickle shelve sqlite3
    pydoc doctest zipimport pkgutil popen2 builtins __builtin__"""
)
_DANGEROUS = _names(
    """code.interact code.InteractiveInterpreter code.InteractiveConsole codeop.compile_command
    commands.getoutput commands.getstatusoutput profile.run profile.Profile cProfile.run cProfile.Profile
    trace.Trace io.open _io.open io.FileIO _io.FileIO io.open_code _io.open_code types.FunctionType
    types.CodeType operator.attrgetter operator.methodcaller operator.call _operator.attrgetter
    _operator.methodcaller _operator.call urllib.request.urlopen urllib.request.urlretrieve
    urllib.urlopen urllib.urlretrieve torch.load torch.serialization.load torch.hub.load torch.jit.load
    torch.utils.cpp_extension.load torch.utils.cpp_extension.load_inline numpy.load numpy.fromfile
    numpy.testing._private.utils.runstring numpy.testing.runstring dill.loads dill.load cloudpickle.loads
    cloudpickle.load joblib.load pandas.read_pickle"""
)
_HARMLESS_BUILTINS = _names(
    """set frozenset list tuple dict str unicode bytes bytearray int long float bool complex slice range
    object type getattr print len min max sum abs round sorted zip map filter enumerate reversed
    NotImplemented Ellipsis NoneType ellipsis property super staticmethod classmethod"""
)


def is_dangerous(name: str) -> bool:
    """Whether a global, by its full dotted name, is known to run something when a pickle calls it.

    A pickle of the protocols 0 to 2 may name it as Python 2 did, even what never was there:
    `commands.check_call` is read as `subprocess.check_call`.
    """
    module, _, rest = name.rpartition(".")
    then, now = NAME_MAPPING.get((module, rest), (IMPORT_MAPPING.get(module, module), rest))
    return _runs(name) or _runs(f"{then}.{now}")


def _runs(name: str) -> bool:
    root, *rest = name.split(".")
    if root in ("builtins", "__builtin__") and len(rest) == 1:
        return rest[0] not in _HARMLESS_BUILTINS and not rest[0].endswith(("Error", "Exception"))
    if root == "pathlib" and any(part.endswith("Path") for part in rest[:-1]):
        return True  # a method of a path: it touches, writes or removes
    hidden = any(part in _DANGEROUS_MODULES or part.startswith("__") for part in rest[1:])
    return root in _DANGEROUS_MODULES or name in _DANGEROUS or hidden


def call(function: object, args: object) -> object:
    """What calling `function` gives here: data for the few that are known, else something opaque."""
    name = function.name if isinstance(function, Global) else ""
    known = _KNOWN.get(name)
    try:
        return Opaque(name, args) if known is None or not isinstance(args, tuple) else known(*args)
    except (TypeError, ValueError):  # not the arguments that it takes
        return Opaque(name, args)


def persistent(reference: object) -> object:
    """What a persistent id of torch means: ("storage", type, key, place, elements, ...)."""
    match reference:
        case ("storage", Global(name), str(key), _, int(elements), *_):
            return Storage(_STORAGE_TYPES.get(name.rpartition(".")[2], name), key, elements)
    return Opaque("persistent id", reference)


def set_state(target: object, state: object) -> None:
    """What the opcode BUILD does: objects keep their state, arrays their content, nothing else changes."""
    match target, state:
        case Opaque(), _:
            target.state = state
        case Array(), (_, shape, dtype, _, bytes() | bytearray() | str() as data):
            target.shape, target.dtype, target.data = shape, dtype, data
        case ArrayType(), (_, "<" | ">" | "=" | "|" as order, *_):
            target.order = order


def _tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> Tensor:
    return Tensor(storage, storage.dtype if isinstance(storage, Storage) else "", offset, shape, strides)


def _typed_tensor(storage: object, offset: object, shape: object, strides: object, *rest: object) -> Tensor:
    dtype = next((dtype_name(value.name) for value in rest if isinstance(value, Global)), "")
    return Tensor(storage, dtype, offset, shape, strides)


def _tensor_of_class(function: object, kind: object, args: object, state: object = None) -> object:
    made = call(function, args)
    if not isinstance(made, Opaque):
        return made
    return Opaque(kind.name if isinstance(kind, Global) else "", (made,), state)


def _first(value: object = None, *_: object) -> object:
    return value


def _collection(value: object = (), *_: object) -> object:
    """The arguments of a list, a set or a torch.Size, not copied: copies of copies would grow without end."""
    return value if value else []


def _mapping(*args: object) -> object:
    return {} if not args or isinstance(args[0], Global) or args[0] is None else Opaque("a mapping", args)


def _array_type(code: object, *_: object) -> ArrayType:
    if not isinstance(code, str) or not _ARRAY_TYPE.fullmatch(code):
        raise ValueError("is no type of numbers")
    return ArrayType(code)


def _array_scalar(dtype: object, data: object) -> object:
    if not isinstance(dtype, ArrayType) or not isinstance(data, bytes | str) or len(data) > 32:
        raise ValueError("is no number")
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype.order.replace("|", "=") + dtype.code, count=1)[0].item()


def _path(*parts: object) -> str:
    if len(parts) > 64 or not all(isinstance(part, str) and len(part) < 256 for part in parts):
        raise ValueError("is no path")
    return "/".join(map(str, parts)).replace("//", "/")


def _instance(kind: object, *_: object) -> Opaque:
    return Opaque(kind.name if isinstance(kind, Global) else "")


_KNOWN: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _tensor_of_class,
    "torch.Size": _collection,
    "torch.device": _first,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "collections.Counter": _first,
    "collections.deque": _collection,
    "_codecs.encode": _first,
    "copyreg._reconstructor": _instance,
    "copy_reg._reconstructor": _instance,
    "numpy.dtype": _array_type,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _KNOWN |= {f"{_module}._reconstruct": lambda *_: Array(), f"{_module}.scalar": _array_scalar}
for _module in ("builtins", "__builtin__"):
    _KNOWN |= {f"{_module}.{_name}": _collection for _name in ("set", "frozenset", "list", "tuple")}
for _module in ("pathlib", "pathlib._local"):
    _KNOWN |= {f"{_module}.{_name}": _path for _name in ("PosixPath", "WindowsPath", "Path", "PurePosixPath")}
