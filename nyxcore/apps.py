from django.apps import AppConfig


class NyxcoreConfig(AppConfig):
    name = "nyxcore"

    def ready(self) -> None:
        """Signing out ends a person's event streams, in all processes; a broken connection is not met twice; migrations
        make the view for operators anew."""
        from django.db.models.signals import post_migrate, pre_migrate

        from nyxcore import bulk, contact, live, sqlview, undo

        bulk.register(undo.SOURCE)
        live.connect_signals()
        contact.connect_signals()
        pre_migrate.connect(sqlview.before_migrations, sender=self)
        post_migrate.connect(sqlview.after_migrations, sender=self)
