"""A notebook that 0.4.0 saved opens, shows its images and runs."""

from pathlib import Path

SAVED = Path(__file__).parents[1] / "upgrade" / "saved.ipynb"


def test_a_saved_notebook_shows_its_images_and_runs(lab):
    name = lab.copy(SAVED)
    lab.trust(name)
    opened = lab.open(name)
    tiles = opened.page.locator(".mg-tile")
    tiles.nth(3).wait_for(timeout=60_000)
    opened.run(0)
    opened.page.get_by_role("button", name="Generate").click()
    opened.page.locator(".mg-made").nth(3).wait_for(timeout=60_000)
