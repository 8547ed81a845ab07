from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "ops"

    def ready(self) -> None:
        """Every process counts its connections, watches for changes of rights, and takes its gauges
        away when it ends."""
        from ops import intrusion
        from taptrading import metrics, vitals  # noqa: F401

        intrusion.connect()
        metrics.forget_when_over()
