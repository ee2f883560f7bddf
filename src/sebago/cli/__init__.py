"""The command line: one module a command. It parses, calls and prints; it decides nothing.

How a command is added:

1. A module `sebago.cli.<name>` (an underscore after a Python keyword: `import_`) with `app`:

       from sebago.cli.app import Call, new_app

       app = new_app()

       @app.command(epilog="sebago status --json")
       def status(ctx: typer.Context, deep: Annotated[bool, typer.Option(help="...")] = False) -> int:
           '''Counts, depths and what is missing.'''
           from sebago.mend import whatever     # heavy modules are imported inside

           call = Call.of(ctx)
           with call.index() as index:
               found = whatever(index)
           call.out.result({"found": found}, f"{found} found")
           return 0

   A module with several commands gives `new_app(help=...)` a sentence and names each one.
2. A row in `COMMANDS` of `sebago.cli.app`: name, module, one sentence. The module is imported when
   its command is called, so `sebago --help` stays quick; a row without a module is not shown.

Manners: the result goes to stdout by `call.out.result`, everything else to stderr by `call.out.note`;
a command returns its exit status (0 done, 1 something was refused or failed) or raises a
`SebagoError`, which is shown in three parts; `BadValue` and usage errors end with 2, Ctrl-C with
130. `--data --config --json --debug -q -v --no-color` belong to every command, before or after it.
"""

from sebago.cli.app import main

__all__ = ["main"]
