from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "ops"

    def ready(self) -> None:
        """Every process counts its connections, and takes its gauges away when it ends."""
        from taptrading import metrics, vitals  # noqa: F401

        metrics.forget_when_over()
