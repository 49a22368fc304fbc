// Returns what is wrong with how the page looks at its present size: a list of lines, none if all is well.
() => {
  const problems = [];
  const say = (what, element) => problems.push(`${what}: ${(element.textContent || "").trim().slice(0, 60)}`);
  const box = (element) => element.getBoundingClientRect();
  const inner = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    return range.getBoundingClientRect();
  };
  const shown = (element) => {
    const style = getComputedStyle(element), size = box(element);
    return style.visibility === "visible" && element.checkVisibility() && size.width > 0 && size.height > 0;
  };
  if (document.documentElement.scrollWidth > innerWidth) {
    problems.push(`the page is ${document.documentElement.scrollWidth} wide`);
    for (const one of document.querySelectorAll("body *"))
      if (box(one).right > innerWidth + 1 && !one.closest(".scroll, nav")) { say("beyond the right edge", one); break; }
  }
  for (const plot of document.querySelectorAll(".plot")) {
    if (!shown(plot)) continue;
    const texts = [...plot.querySelectorAll("text")].filter(shown), card = box(plot.closest(".card"));
    texts.forEach((text, at) => {
      const one = box(text);
      if (one.left < card.left || one.right > card.right || one.top < card.top || one.bottom > card.bottom) say("cut label", text);
      for (const other of texts.slice(at + 1)) {
        const two = box(other);
        const across = Math.min(one.right, two.right) - Math.max(one.left, two.left);
        const down = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
        if (across > 1 && down > 2) say(`overlaps ${other.textContent}`, text);
      }
    });
    if (texts.length < 2) say("a chart without an axis", plot);
  }
  for (const one of document.querySelectorAll("td, th, summary, h1, h2, h3, h4, p, dt, dd, li, .badge, b, small"))
    if (one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0 && shown(one) && getComputedStyle(one).display !== "inline" && !one.closest("nav, .unseen")) say("text runs out of its place", one);
  for (const one of document.querySelectorAll(".big, .sum, .value, .figure dt, .figure dd, .plot text"))
    if (shown(one) && inner(one).height > 1.7 * parseFloat(getComputedStyle(one).fontSize)) say("a number in two lines", one);
  for (const row of document.querySelectorAll("tr")) {
    const cells = [...row.children].filter(shown).map(box);
    cells.slice(1).forEach((cell, at) => { if (cell.left < cells[at].right - 1) say("cells overlap", row); });
  }
  return problems;
}
