"""axe-core in a page: the fixture `axe` is its text, `serious(page, axe)` what it finds."""
import pytest

from app.build import node, settings
from app.build.console import BuildError

SERIOUS = ("serious", "critical")
FOUND = """async (rules) => {
  // Colours half-way through a transition are nobody's choice.
  for (const one of document.getAnimations()) if (one instanceof CSSTransition) one.finish();
  const only = rules ? { type: "rule", values: rules } : undefined;
  const { violations } = await axe.run(document, { resultTypes: ["violations"], runOnly: only });
  const told = ({ html, any, all, none }) =>
    `${html.slice(0, 120)}: ${[...any, ...all, ...none][0]?.message}`;
  return violations.flatMap(({ id, impact, nodes }) =>
    nodes.map((node) => ({ id, impact, what: `${id}: ${told(node)}` })));
}"""


@pytest.fixture(scope="session")
def axe():
    """axe-core's text, of the lock of tests/axe."""
    try:
        node.ensure_modules(settings.AXE)
    except BuildError as error:
        pytest.skip(f"no axe-core: {error.what}")
    return (settings.AXE / "node_modules/axe-core/axe.min.js").read_text()


def serious(page, axe, rules=None):
    """What axe finds now, transitions at their end, serious or worse."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe)
    return [row for row in page.evaluate(FOUND, rules) if row["impact"] in SERIOUS]
