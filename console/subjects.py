"""The subjects of the console. Of two addresses that fit a request, the one of the earlier subject counts."""

from console import (
    activity,
    connect,
    connection,
    groups,
    me,
    objects,
    overview,
    presence,
    presence_list,
    runs,
    schedule,
    sign_in,
    static_files,
    users,
)
from console.app import Pages

SUBJECTS: tuple[Pages, ...] = (
    static_files.pages,
    sign_in.pages,
    connect.pages,
    me.pages,
    overview.pages,
    users.pages,
    groups.pages,
    objects.pages,
    presence.pages,
    presence_list.pages,
    runs.pages,
    schedule.pages,
    connection.pages,
    activity.pages,
)
