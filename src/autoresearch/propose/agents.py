"""
Coding agents that are known by name: how each is started without a person, as data.

Read off the programs' own `--help`, and tried against scripted models on loopback; docs/proposers.md says with which
versions, and that Goose was not. Knows no study and starts nothing.

Words in braces are blanks (see `filled`): {model} and {bare_model} (without its provider), {provider}, {sdk}, {key}
and {path} of that, {address} of ours for its host, {dollars} that it may spend, {brief} (a file), {scratch} (a folder),
{rules} (what it may edit, in its own spelling) and {file} (each file of the asset). A tuple among the words is left
out as a whole where one of its blanks has no value.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

Words = tuple[str | tuple[str, ...], ...]
_BLANK = re.compile(r"\{(model|bare_model|provider|sdk|key|path|address|dollars|brief|scratch|rules|file)\}")


class Provider(Struct, frozen=True):
    """
    A host of models: the variables in which clients look for its key and for another address than its own, the path
    at which its interface begins, and the package through which OpenCode speaks to it.
    """

    host: str | None
    key: str
    address: str
    path: str
    sdk: str


PROVIDERS = {
    "anthropic": Provider("api.anthropic.com", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "/v1", "@ai-sdk/anthropic"),
    "openai": Provider("api.openai.com", "OPENAI_API_KEY", "OPENAI_BASE_URL", "/v1", "@ai-sdk/openai"),
    "gemini": Provider(
        "generativelanguage.googleapis.com", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "/v1beta", "@ai-sdk/google"
    ),
    "openrouter": Provider(
        "openrouter.ai", "OPENROUTER_API_KEY", "OPENROUTER_BASE_URL", "/api/v1", "@openrouter/ai-sdk-provider"
    ),
    # A server of one's own, for OpenCode: its host has to be in propose.allow.
    "local": Provider(None, "LOCAL_API_KEY", "LOCAL_BASE_URL", "/v1", "@ai-sdk/openai-compatible"),
}
PROVIDERS["google"] = PROVIDERS["gemini"]  # as OpenCode and Goose spell it


class Agent(Struct, frozen=True):
    """
    How one agent is started: `argv`, then `inside` our sandbox or `outside` of it, then `last`.

    It gets its task on standard input, or as the file {brief} where that is among its words; `task` is what the file
    holds, with the text as JSON in place of %s, if not the plain text. `reader` names what it prints (see spoken.py), and `prints` a file that it
    leaves and that is printed behind it. `env` is set for it, `hosts` too, by provider. `settings` are files of its
    home, where that is an empty one of ours.

    `provider` is the only one it works with; None: its model's name begins with one. `limits`: it ends by itself
    at {dollars}. `logins` are where it keeps one. `version` makes it print that. `acp` starts it as a server of the Agent Client Protocol.
    """

    program: str
    install: str
    reader: str
    argv: Words
    inside: Words = ()
    outside: Words = ()
    last: Words = ()
    task: str = ""
    prints: str = ""
    env: dict[str, str] = {}
    hosts: dict[str, dict[str, str]] = {}
    settings: dict[str, str] = {}
    provider: str | None = None
    limits: bool = False
    logins: tuple[str, ...] = ()
    version: str = "--version"
    acp: Words = ()
    acp_install: str = ""
    acp_tells_cost: bool = False


# What aider and mini-swe-agent are built on, and its names for an address of ours.
_LITELLM_ENV = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
_LITELLM_HOSTS = {
    "anthropic": {"ANTHROPIC_API_BASE": "{address}"},
    "openai": {"OPENAI_API_BASE": "{address}/v1"},
    "openrouter": {"OPENROUTER_API_BASE": "{address}/api/v1"},
}
CLAUDE = Agent(
    program="claude",
    install="npm install -g @anthropic-ai/claude-code",
    reader="claude",
    argv=(
        *("--print", "--output-format", "stream-json", "--verbose"),
        "--safe-mode",  # no hooks and plugins, which a candidate could have left in the tree
        *("--strict-mcp-config", "--no-session-persistence"),
        *("--permission-mode", "dontAsk", "--tools", "Read,Glob,Grep,Edit,Write", "--allowedTools", "{rules}"),
        ("--model", "{model}"),
        ("--max-budget-usd", "{dollars}"),
    ),
    env={"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"},
    provider="anthropic",
    limits=True,
    logins=("~/.claude/.credentials.json",),
    acp=("claude-code-acp",),
    acp_install="npm install -g @zed-industries/claude-code-acp",
)
CODEX = Agent(
    program="codex",
    install="npm install -g @openai/codex",
    reader="codex",
    argv=(
        *("exec", "--json", "--ephemeral", "--skip-git-repo-check", "--ignore-rules", "--color", "never"),
        *("-c", 'web_search="disabled"'),
        ("-m", "{model}"),
    ),
    # Its own sandbox needs what ours forbids. It reads and edits through a shell, so none can be taken away.
    inside=(
        "--dangerously-bypass-approvals-and-sandbox",
        (
            *("-c", 'model_provider="ours"', "-c"),
            'model_providers.ours={name="ours",base_url="{address}{path}",env_key="{key}",wire_api="responses"}',
        ),
    ),
    outside=("-s", "workspace-write"),
    last=("-",),
    provider="openai",
    logins=("~/.codex/auth.json",),
)
GEMINI = Agent(
    program="gemini",
    install="npm install -g @google/gemini-cli",
    reader="gemini",
    argv=("--output-format", "json", "--approval-mode", "auto_edit", "--skip-trust", ("--model", "{model}")),
    env={"GEMINI_CLI_NO_RELAUNCH": "true"},
    # Without a named method it takes an address of ours for a gateway, and refuses it (0.61).
    settings={
        ".gemini/settings.json": json.dumps(
            {
                "security": {"auth": {"selectedType": "gemini-api-key"}},
                "general": {"enableAutoUpdate": False},
                "privacy": {"usageStatisticsEnabled": False},
                "tools": {"core": ["list_directory", "read_file", "glob", "grep_search", "replace", "write_file"]},
            }
        )
    },
    provider="gemini",
    logins=("~/.gemini/oauth_creds.json",),
    acp=("gemini", "--acp", "--skip-trust", ("--model", "{model}")),
    acp_install="npm install -g @google/gemini-cli",
)
OPENCODE = Agent(
    program="opencode",
    install="npm install -g opencode-ai",
    reader="opencode",
    argv=("run", "--format", "json", ("--model", "{model}")),
    env={
        "OPENCODE_CONFIG_CONTENT": '{"model":"{model}","small_model":"{model}"}',
        "OPENCODE_PERMISSION": '{"*":"deny","read":"allow","glob":"allow","grep":"allow","list":"allow","edit":{rules}}',
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_EXTERNAL_SKILLS": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_PROJECT_CONFIG": "1",  # may name plugins, which a candidate could have left in the tree
        "OPENCODE_DISABLE_SHARE": "1",
    },
    settings={
        ".config/opencode/opencode.json": '{"provider":{"{provider}":{"npm":"{sdk}","options":{"baseURL":"{address}{path}",'
        '"apiKey":"{env:{key}}"},"models":{"{bare_model}":{}}}}}'
    },
    logins=("~/.local/share/opencode/auth.json",),
    acp=("opencode", "acp"),
    acp_install="npm install -g opencode-ai",
    acp_tells_cost=True,
)
AIDER = Agent(
    program="aider",
    install="pipx install aider-chat",
    reader="aider",
    argv=(
        *("--message-file", "{brief}", "--file={file}", "--yes-always", "--no-git", "--map-tokens", "0"),
        *("--no-check-update", "--no-show-release-notes", "--no-analytics", "--no-show-model-warnings"),
        *("--no-pretty", "--no-stream", "--no-fancy-input", "--no-detect-urls", "--no-suggest-shell-commands"),
        *("--no-auto-lint", "--no-restore-chat-history"),
        *("--chat-history-file", "/dev/null", "--input-history-file", "/dev/null"),  # else they lie in the tree
        ("--model", "{model}"),
    ),
    env=_LITELLM_ENV,
    hosts=_LITELLM_HOSTS,
)
GOOSE = Agent(
    program="goose",
    install="see https://block.github.io/goose/docs/getting-started/installation",
    reader="goose",
    argv=(
        *("run", "--no-session", "--quiet", "--output-format", "stream-json", "--with-builtin", "developer"),
        ("--provider", "{provider}", "--model", "{bare_model}"),
        *("--instructions", "-"),
    ),
    env={"GOOSE_MODE": "auto", "GOOSE_DISABLE_SESSION_NAMING": "true", "GOOSE_TELEMETRY_ENABLED": "false"},
    hosts={
        "anthropic": {"ANTHROPIC_HOST": "{address}"},
        "openai": {"OPENAI_HOST": "{address}"},
        "openrouter": {"OPENROUTER_HOST": "{address}"},
    },
    logins=("~/.config/goose/config.yaml",),
    acp=("goose", "acp", "--with-builtin", "developer"),
    acp_install="see https://block.github.io/goose/docs/getting-started/installation",
)
MINI = Agent(
    program="mini",
    install="pipx install mini-swe-agent",
    reader="mini",
    argv=(
        *("--yolo", "--exit-immediately", "--config", "mini.yaml", "--config", "{brief}"),
        *("--output", "{scratch}/trajectory.json"),
        ("--model", "{model}"),
        ("--cost-limit", "{dollars}"),
    ),
    task='{"run": {"task": %s}}',  # as a part of its configuration: an argument may not be that long
    prints="{scratch}/trajectory.json",
    env={
        **_LITELLM_ENV,
        "MSWEA_CONFIGURED": "true",
        "MSWEA_COST_TRACKING": "ignore_errors",
        "MSWEA_SILENT_STARTUP": "1",
    },
    hosts=_LITELLM_HOSTS | {"gemini": {"GEMINI_API_BASE": "{address}"}},  # aider's LiteLLM is too old for this
    limits=True,
    logins=("~/.config/mini-swe-agent/.env",),
    version="--help",
)

AGENTS = {
    "claude": CLAUDE,
    "codex": CODEX,
    "gemini": GEMINI,
    "opencode": OPENCODE,
    "aider": AIDER,
    "goose": GOOSE,
    "mini": MINI,
    "claude-code": CLAUDE,
    "gemini-cli": GEMINI,
    "mini-swe-agent": MINI,
}


def filled(words: Words, values: Mapping[str, str | None], files: Iterable[str] = ()) -> list[str]:
    """
    Words with their blanks filled in; a word with {file} once for each of these files.

    Raises:
        KeyError: a blank outside a tuple has no value.
    """
    found: list[str] = []
    for part in words:
        if isinstance(part, tuple):
            if all(values.get(blank) is not None for word in part for blank in _BLANK.findall(word)):
                found += filled(part, values)
        elif "{file}" in part:
            found += [part.replace("{file}", file) for file in files]
        else:
            found.append(_BLANK.sub(lambda match: _value(match[1], values), part))
    return found


def filled_in(texts: Mapping[str, str], values: Mapping[str, str | None]) -> dict[str, str]:
    """Named texts with their blanks filled in; those left out of which a blank has no value."""
    return dict(_filled_in(texts, values))


def _filled_in(texts: Mapping[str, str], values: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    for name, text in texts.items():
        if words := filled(((text,),), values):
            yield name, words[0]


def _value(blank: str, values: Mapping[str, str | None]) -> str:
    value = values[blank]
    if value is None:
        raise KeyError(blank)
    return value


def rules(program: str, asset: Iterable[str], asks: bool = False) -> str:
    """
    Patterns of the asset as an agent's own rule of what it may edit, or where it `asks` first. It may come out wider
    than the asset, never narrower: what was changed outside is found afterwards all the same.
    """
    patterns = [pattern.removeprefix("./").rstrip("/") for pattern in asset]
    if program == "opencode":  # `*` crosses folders, and paths are from whatever root it takes for its own
        ends = [pattern.removeprefix("**/") for pattern in patterns]
        allowed = [rule for end in ends for rule in (f"*{end}", f"*{end}/*")]
        return json.dumps({"*": "deny"} | dict.fromkeys(allowed, "ask" if asks else "allow"))
    plain = all(re.fullmatch(r"[\w./*?-]+", pattern) for pattern in patterns)
    edits = [f"Edit(./{p}),Edit(./{p}/**)" for p in patterns] if plain else ["Edit"]
    return ",".join(["Read", "Glob", "Grep", *edits])
