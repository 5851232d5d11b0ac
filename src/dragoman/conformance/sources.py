"""Where a mistake was seen: public issues in short, `LL#25321`, and where to read them."""

from __future__ import annotations

REPOSITORIES: dict[str, tuple[str, str]] = {
    "LL": ("LiteLLM", "BerriAI/litellm"),
    "BF": ("Bifrost", "maximhq/bifrost"),
    "CPA": ("CLIProxyAPI", "router-for-me/CLIProxyAPI"),
    "CCR": ("claude-code-router", "musistudio/claude-code-router"),
    "PK": ("Portkey", "Portkey-AI/gateway"),
    "new-api": ("new-api", "QuantumNous/new-api"),
    "vercel/ai": ("AI SDK", "vercel/ai"),
    "claude-code": ("Claude Code", "anthropics/claude-code"),
    "sglang": ("SGLang", "sgl-project/sglang"),
    "strands": ("Strands Agents", "strands-agents/sdk-python"),
    "adk": ("Agent Development Kit", "google/adk-python"),
    "langchain": ("LangChain", "langchain-ai/langchain"),
}
"""Short name: the project, and its repository on GitHub. Others are named as they call themselves."""


def link_of(source: str) -> str:
    """The address of an issue, or nothing where its repository is not known."""
    short, _, number = source.partition("#")
    known = REPOSITORIES.get(short)
    return f"https://github.com/{known[1]}/issues/{number}" if known else ""
