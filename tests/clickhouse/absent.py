"""Stands in for libraries for data frames: chdb names them when it is imported, and these programs do not use them."""

import sys
import types


class Absent(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


for name in ("pandas", "pyarrow"):
    sys.modules.setdefault(name, Absent(name))
