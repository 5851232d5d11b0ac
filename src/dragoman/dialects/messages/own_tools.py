"""Tools that Anthropic's models know by their type and that the caller runs itself: a shell, an editor of text files, a memory
that is a folder. To every other model they are functions, with the descriptions and schemas that the types stand for.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/{bash-tool,text-editor-tool,memory-tool}; the memory's commands:
`anthropic.types.beta.beta_memory_tool_20250818_command`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.ir.request import Path, Tool

Block = dict[str, Any]

_TEXT: Block = {"type": "string"}
_NUMBER: Block = {"type": "integer"}


def _text(description: str) -> Block:
    return {**_TEXT, "description": description}


def _schema(required: list[str], **members: Block) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({"type": "object", "properties": members, "required": required}))


def _command(*commands: str) -> Block:
    return {**_TEXT, "enum": list(commands)}


_RANGE: Block = {
    "type": "array",
    "items": _NUMBER,
    "minItems": 2,
    "maxItems": 2,
    "description": "For `view` of a file: the first and the last line, counted from 1; -1 is the end.",
}
_LINE: Block = {**_NUMBER, "description": "For `insert`: the line after which the text goes; 0 is the beginning."}
_FILE_TEXT = _text("For `create`: all of the file.")
_OLD = _text("For `str_replace`: the text to be replaced, exactly as it stands there, and only once.")
_NEW = _text("For `str_replace`: what comes in its place.")
_INSERTED = _text("For `insert`: the text.")

_BASH = "Runs commands in a shell that lives on from one call to the next, and gives back what they print."
_EDITOR = "Views and edits text files. `view` shows a file with its lines numbered, or what is in a folder."
_MEMORY = (
    "A folder of files, `/memories`, that outlives this conversation. Look into it (`view`) before anything else, and write "
    "down progress and what is worth knowing as you go: the conversation may be cut off at any time."
)

_EDITED: dict[str, Block] = {"path": _text("The file or folder, as an absolute path."), "view_range": _RANGE}
_OLDER_EDITOR = _schema(
    ["command", "path"],
    command=_command("view", "create", "str_replace", "insert", "undo_edit"),
    **_EDITED,
    file_text=_FILE_TEXT,
    old_str=_OLD,
    new_str=_text("For `str_replace` what comes in its place, for `insert` the text."),
    insert_line=_LINE,
)
_STAND_INS: tuple[tuple[str, str, msgspec.Raw], ...] = (
    (
        "bash_2",
        _BASH,
        _schema([], command=_text("The command."), restart={"type": "boolean", "description": "Begin with a new shell."}),
    ),
    ("text_editor_2024", _EDITOR, _OLDER_EDITOR),
    ("text_editor_20250124", _EDITOR, _OLDER_EDITOR),
    (
        "text_editor_2",
        _EDITOR,
        _schema(
            ["command", "path"],
            command=_command("view", "create", "str_replace", "insert"),
            **_EDITED,
            file_text=_FILE_TEXT,
            old_str=_OLD,
            new_str=_NEW,
            insert_line=_LINE,
            insert_text=_INSERTED,
        ),
    ),
    (
        "memory_2",
        _MEMORY,
        _schema(
            ["command"],
            command=_command("view", "create", "str_replace", "insert", "delete", "rename"),
            path=_text("The file or folder, below `/memories`; for all but `rename`."),
            view_range=_RANGE,
            file_text=_FILE_TEXT,
            old_str=_OLD,
            new_str=_NEW,
            insert_line=_LINE,
            insert_text=_INSERTED,
            old_path=_text("For `rename`: where it is."),
            new_path=_text("For `rename`: where it goes."),
        ),
    ),
)


def stand_in(kind: str, name: str, at: Path) -> Tool | None:
    """The function that a tool of this type is to others; None for one that its provider runs."""
    for prefix, description, schema in _STAND_INS:
        if kind.startswith(prefix):
            return Tool(name=name, description=description, schema=schema, dialect="messages", at=at)
    return None
