"""How long a crashed part waits for its next start."""

from ops.supervisor import BackOff


def test_after_run_when_it_keeps_failing_then_doubles_up_to_the_bound() -> None:
    back_off = BackOff(first_s=0.25, most_s=2.0, good_run_s=20.0)

    waits = [back_off.after_run(0.1) for _ in range(6)]

    assert waits == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]


def test_after_run_when_it_ran_well_then_starts_from_the_first_wait() -> None:
    back_off = BackOff(first_s=0.25, most_s=30.0, good_run_s=20.0)
    for _ in range(4):
        back_off.after_run(1.0)

    assert back_off.after_run(20.0) == 0.25
    assert back_off.after_run(19.9) == 0.5


def test_after_run_when_it_failed_ten_thousand_times_then_still_answers_the_bound() -> None:
    back_off = BackOff(most_s=30.0, failures=10_000)

    assert back_off.after_run(0.0) == 30.0
