"""Who may use an app: the rules that hold at sign-in and again each time a token is refreshed."""

from local.microsoft.apps import App
from local.microsoft.directory import Directory, Entity
from local.microsoft.entra_errors import EntraError
from local.microsoft.memberships import direct_groups


def admit(directory: Directory, app: App, user_id: str) -> Entity:
    """The user. ``EntraError`` 50034 for a deleted one, 50057 for a disabled one, 50105 for one that is not assigned.

    Assignments count that the user has directly or through a group; nested groups do not pass theirs on.
    """
    user = directory.find("user", user_id)
    if user is None:
        raise EntraError(
            50034,
            f"The user account {user_id} does not exist in the directory. To sign into this application, the account "
            "must be added to the directory.",
        )
    if not user.properties.get("accountEnabled"):
        raise EntraError(50057, "The user account is disabled.")
    registration = app.registration
    if registration.assignment_required and not registration.is_assigned(principals(directory, user)):
        raise EntraError(
            50105,
            f"Your administrator has configured the application {app.display_name} ('{app.client_id}') to block users "
            "unless they are specifically granted ('assigned') access to the application. The signed in user "
            f"'{user.properties['userPrincipalName']}' is blocked because they are not a direct member of a group "
            "with access, nor had access directly assigned by an administrator. Please contact your administrator to "
            "assign access to this application.",
        )
    return user


def principals(directory: Directory, user: Entity) -> list[str]:
    """The user and the groups they are directly in: whose assignments count."""
    return [user.id, *(group.id for group in direct_groups(directory, user.id))]


def consent_missing(app: App) -> EntraError:
    return EntraError(
        65001,
        f"The user or administrator has not consented to use the application with ID '{app.client_id}' named "
        f"'{app.display_name}'. Send an interactive authorization request for this user and resource.",
    )
