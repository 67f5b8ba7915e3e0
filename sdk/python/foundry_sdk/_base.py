"""A base: an interpreter that waits for a bot. Its first tick brings the bot's modules, as text, since no file is there;
from then on it is that bot. `foundry-host build` keeps one, and makes a component of it after that tick."""

import json
import sys
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder

import wit_world
from wit_world.imports import types

from . import _streams
from ._traceback import format_exception, remember_source

_streams.install()

_bot = None

# Modules that aren't there, as those who looked found while there were files.
absent: set[str] = set()

# Modules and files that the bot asked for and only componentize-py could have found.
_out_of_reach: list[object] = []


class _Modules(MetaPathFinder, InspectLoader):
    """Finds modules among texts, by name."""

    def __init__(self, modules):
        self._modules = {name: (path, text) for name, path, text in modules}

    def find_spec(self, name, path=None, target=None):
        if name in self._modules:
            origin = self._modules[name][0]
        elif any(other.startswith(name + ".") for other in self._modules):
            # A directory without an `__init__.py`, which is a package all the same.
            origin = None
        else:
            return None
        spec = ModuleSpec(name, self, origin=origin, is_package=self.is_package(name))
        spec.has_location = origin is not None
        return spec

    def is_package(self, name):
        return name not in self._modules or self._modules[name][0].endswith("/__init__.py")

    def get_source(self, name):
        return self._modules.get(name, ("", ""))[1]

    def get_code(self, name):
        path, text = self._modules.get(name, ("<package>", ""))
        remember_source(path, text)
        return self.source_to_code(text, path)


class WitWorld(wit_world.WitWorld):
    def describe(self):
        return _bot.describe()

    def configure(self):
        return _bot.configure()

    def handle(self, message):
        return _bot.handle(message)

    def tick(self, timer):
        return _bot.tick(timer) if _bot else _read(**json.loads(timer))


class _OutOfReach(MetaPathFinder):
    """The last finder: notes what none has found."""

    def find_spec(self, name, path=None, target=None):
        if name not in absent:
            _out_of_reach.append(name)
        return None


def _refuse_files(event, arguments):
    if event == "open" and _streams.reading:
        _out_of_reach.append(arguments[0])
        raise OSError(f"there are no files here ({arguments[0]})")


def _read(main, modules):
    """Import the bot. Failing is for componentize-py to have a second try; a bot that is wrong is rejected."""
    global _bot
    finders = [finder for finder in sys.meta_path if finder is not PathFinder]
    sys.meta_path[:] = [_Modules(modules), *finders, _OutOfReach()]
    # Python looks into files even for the line of a syntax error.
    sys.addaudithook(_refuse_files)
    _streams.begin_reading()
    try:
        _bot = __import__(main, fromlist=["WitWorld"]).WitWorld()
    except SyntaxError as error:
        return types.Outcome_Reject(format_exception(error))
    except BaseException as error:
        if _out_of_reach:
            raise
        return types.Outcome_Reject(format_exception(error))
    finally:
        _streams.end_of_reading()
    if _out_of_reach:
        # It may have made do without, and would be another bot.
        raise ImportError(f"out of reach: {_out_of_reach}")
    return types.Outcome_Done()
