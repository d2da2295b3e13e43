"""One published method = one file, or a folder where it has stages; all are imported, so that they are known by name.

``parts`` holds what several of them share.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
