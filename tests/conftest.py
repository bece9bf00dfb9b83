"""How long hypothesis looks for a mistake: seconds in every run, ten minutes where a person asks for it.

`python -m pytest tests/unit/test_fuzz.py --hypothesis-profile fuzz --hypothesis-show-statistics --timeout 0`
"""

from hypothesis import HealthCheck, settings

# How fast one example is depends on who else uses the machine.
settings.register_profile("brief", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", settings.get_profile("brief"), max_examples=20_000)
settings.load_profile("brief")
