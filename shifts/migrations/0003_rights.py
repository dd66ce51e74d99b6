"""The groups of the ops desk, and an audit log that the database itself refuses to change."""

from typing import Any

from django.contrib.auth.management import create_permissions
from django.db import migrations

OUR_APPS = ("linking", "shifts", "zego_api")
READER, OPS, ADMIN = "Ops reader", "Ops", "Admin"

OPS_MAY = (
    ("linking", "mend"),
    ("linking", "mend_in_bulk"),
    ("linking", "add_apikey"),
    ("linking", "change_apikey"),
)
ADMIN_MAY = (
    ("linking", "add_workprovider"),
    ("linking", "change_workprovider"),
    ("linking", "add_linksecret"),
    ("linking", "change_linksecret"),
    ("linking", "add_terms"),
    ("linking", "change_terms"),
    ("linking", "add_customer"),
    ("linking", "change_customer"),
    ("linking", "add_user"),
    ("linking", "change_user"),
    ("auth", "view_group"),
    ("auth", "change_group"),
    ("admin", "view_logentry"),
)


def make_permissions(apps: Any, schema_editor: Any) -> None:
    """What post_migrate does, before it: a group can hold only permissions that are there."""
    for label in (*OUR_APPS, "auth", "admin"):
        app = apps.get_app_config(label)
        app.models_module = True
        create_permissions(app, verbosity=0, using=schema_editor.connection.alias, apps=apps)
        app.models_module = None


def make_groups(apps: Any, schema_editor: Any) -> None:
    permissions = apps.get_model("auth", "Permission").objects
    groups = apps.get_model("auth", "Group").objects
    held = list(
        permissions.filter(content_type__app_label__in=OUR_APPS, codename__startswith="view_")
    )
    for name, more in ((READER, ()), (OPS, OPS_MAY), (ADMIN, ADMIN_MAY)):
        held += [
            permissions.get(content_type__app_label=app, codename=codename)
            for app, codename in more
        ]
        groups.get_or_create(name=name)[0].permissions.set(held)


def remove_groups(apps: Any, schema_editor: Any) -> None:
    apps.get_model("auth", "Group").objects.filter(name__in=[READER, OPS, ADMIN]).delete()


LOCK_LOGS = """
CREATE FUNCTION zego_log_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The audit log stays as it was written: no row of % is changed or deleted.',
        TG_TABLE_NAME
        USING HINT = 'Put what is true now on record as an action of its own.';
END
$$;

CREATE TRIGGER deskaction_stays BEFORE DELETE ON linking_deskaction
    FOR EACH ROW EXECUTE FUNCTION zego_log_stays();
CREATE TRIGGER deskaction_stays_as_it_is BEFORE UPDATE ON linking_deskaction
    FOR EACH ROW
    WHEN (to_jsonb(OLD) - 'finished_at' IS DISTINCT FROM to_jsonb(NEW) - 'finished_at')
    EXECUTE FUNCTION zego_log_stays();
CREATE TRIGGER admin_log_stays BEFORE UPDATE OR DELETE ON django_admin_log
    FOR EACH ROW EXECUTE FUNCTION zego_log_stays();
"""

UNLOCK_LOGS = """
DROP TRIGGER deskaction_stays ON linking_deskaction;
DROP TRIGGER deskaction_stays_as_it_is ON linking_deskaction;
DROP TRIGGER admin_log_stays ON django_admin_log;
DROP FUNCTION zego_log_stays();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("linking", "0003_desk"),
        ("shifts", "0002_desk"),
        ("zego_api", "0001_initial"),
    ]

    operations = [
        migrations.RunPython(make_permissions, migrations.RunPython.noop),
        migrations.RunPython(make_groups, remove_groups),
        migrations.RunSQL(LOCK_LOGS, UNLOCK_LOGS),
    ]
