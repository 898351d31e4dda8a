/** Is the host light or dark? Host signals first, the colour behind us last; never the operating system's wish. */

import type { Theme } from "./colormap.js";
import type { ThemeChoice } from "./types.js";

function luminance(color: string): number | null {
  const parts = color.match(/[\d.]+/g)?.map(Number);
  if (!parts || parts.length < 3 || parts[3] === 0) return null;
  const [r, g, b] = parts as [number, number, number];
  return (0.299 * r + 0.587 * g + 0.114 * b) / 255;
}

export function hostTheme(element: Element): Theme {
  const { body, documentElement: html } = document;
  const dark = (is: boolean): Theme => (is ? "dark" : "light");
  const lab = body.dataset.jpThemeLight;
  if (lab) return dark(lab === "false");
  const colab = html.getAttribute("theme");
  if (colab) return dark(colab === "dark");
  const said = [...body.classList, ...html.classList].find((name) =>
    /^(dark|vscode-(light|dark|high-contrast(-light)?))$/.test(name),
  );
  // High contrast has both of VS Code's classes where it is light.
  const light = document.body.classList.contains("vscode-high-contrast-light");
  if (said) return dark(!light && !said.endsWith("-light"));
  for (let at: Element | null = element.parentElement; at; at = at.parentElement) {
    const behind = luminance(getComputedStyle(at).backgroundColor);
    if (behind !== null) return dark(behind < 0.5);
  }
  return dark(getComputedStyle(html).colorScheme.trim() === "dark");
}

export const resolve = (choice: ThemeChoice, element: Element): Theme =>
  choice === "auto" ? hostTheme(element) : choice;

/** Calls back whenever the host may have changed its theme, until the signal aborts. */
export function watchTheme(changed: () => void, signal: AbortSignal): void {
  const observer = new MutationObserver(changed);
  const told = "class style theme data-jp-theme-light data-theme data-vscode-theme-kind";
  const options = { attributes: true, attributeFilter: told.split(" ") };
  observer.observe(document.documentElement, options);
  observer.observe(document.body, options);
  signal.addEventListener("abort", () => observer.disconnect(), { once: true });
}
