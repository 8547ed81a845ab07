from django.urls import path

from tests.benchmarks.peer.views import PlaceBet

urlpatterns = [path("api/v1/bets", PlaceBet.as_view())]
