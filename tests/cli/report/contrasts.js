// Returns each text of the page whose contrast with its ground is less than AA asks for.
() => {
  const colour = (text) => {
    const numbers = text.match(/[\d.]+/g).map(Number);
    if (text.startsWith("color(")) return [...numbers.slice(0, 3).map((one) => one * 255), numbers[3] ?? 1];
    return [...numbers.slice(0, 3), numbers[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((one) => one / 255).map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(colour(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const weak = new Map(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest("script, style, .unseen, .skip")) continue;
    const style = getComputedStyle(element);
    if (style.visibility !== "visible") continue;
    const below = ground(element), above = over(colour(element.closest("svg") ? style.fill : style.color), below);
    const [one, two] = [light(above), light(below)].sort((a, b) => b - a), ratio = (one + 0.05) / (two + 0.05);
    const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) weak.set(`${element.tagName}.${element.getAttribute("class")} ${style.color}`, `${ratio.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  return [...weak].map(([where, what]) => `${where} ${what}`);
}
