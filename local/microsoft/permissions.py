"""Which application permissions open which part of Graph: the least privileged one and those that include it.

After the permission tables of each call in the Microsoft Graph v1.0 reference.
"""

DIRECTORY_READ = frozenset({"Directory.Read.All", "Directory.ReadWrite.All"})
USERS_READ = frozenset({"User.Read.All", "User.ReadWrite.All"}) | DIRECTORY_READ
USERS_READ_BASIC = USERS_READ | {"User.ReadBasic.All"}
USERS_RESTORE = frozenset({"User.DeleteRestore.All", "User.ReadWrite.All"})
GROUPS_READ = (
    frozenset({"GroupMember.Read.All", "Group.Read.All", "Group.ReadWrite.All", "GroupMember.ReadWrite.All"})
    | DIRECTORY_READ
)
DELETED_GROUPS_READ = frozenset({"Group.Read.All", "Group.ReadWrite.All"}) | DIRECTORY_READ
GROUPS_RESTORE = frozenset({"Group.ReadWrite.All"})
USERS_SUBSCRIBE = USERS_READ
GROUPS_SUBSCRIBE = frozenset({"Group.Read.All", "Group.ReadWrite.All"}) | DIRECTORY_READ
"""Reading memberships alone does not let an app subscribe ("Create subscription", permissions)."""
PRESENCE_READ = frozenset({"Presence.Read.All", "Presence.ReadWrite.All"})
OWN_PRESENCE = frozenset({"Presence.Read", "Presence.ReadWrite"})
APPLICATIONS_READ = frozenset({"Application.Read.All", "Application.ReadWrite.All"}) | DIRECTORY_READ
APPLICATIONS_OWN = frozenset({"Application.ReadWrite.OwnedBy"})
ORGANIZATION_READ = frozenset({"Organization.Read.All", "Organization.ReadWrite.All"}) | DIRECTORY_READ
HIDDEN_MEMBERS = "Member.Read.Hidden"
EVERYBODY: frozenset[str] = frozenset()
"""No permission needed beyond a valid token."""
