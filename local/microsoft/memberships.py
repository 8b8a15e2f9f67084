"""The groups that an object is in: what claims, app roles and ``getMemberObjects`` ask for."""

from local.microsoft.directory import Directory, Entity


def direct_groups(directory: Directory, identifier: str) -> list[Entity]:
    """Live groups with the object as a direct member, in order of creation."""
    return [group for _, group in directory.live("group") if identifier in group.links.get("members", {})]


def all_groups(directory: Directory, identifier: str) -> list[Entity]:
    """The same through any depth of nesting, each once, in order of creation."""
    holders: dict[str, list[str]] = {}
    for _, group in directory.live("group"):
        for member in group.links.get("members", {}):
            holders.setdefault(member, []).append(group.id)
    found: set[str] = set()
    waiting = [identifier]
    while waiting:
        for holder in holders.get(waiting.pop(), ()):
            if holder not in found:
                found.add(holder)
                waiting.append(holder)
    return [group for _, group in directory.live("group") if group.id in found and group.id != identifier]
