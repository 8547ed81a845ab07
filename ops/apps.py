from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "ops"

    def ready(self) -> None:
        """Every process counts its connections, watches for changes of rights, and takes its gauges
        away when it ends."""
        from ops import intrusion
        from ops.staff import admission
        from taptrading import metrics, vitals  # noqa: F401

        intrusion.connect()
        admission.connect()
        metrics.forget_when_over()
