import { afterEach, expect, test } from "vitest";
import { hostTheme, resolve, watchTheme } from "../src/theme.js";
import { settled } from "./fake_model.js";

afterEach(() => {
  document.body.removeAttribute("class");
  document.body.removeAttribute("style");
  document.body.removeAttribute("data-jp-theme-light");
  document.documentElement.removeAttribute("theme");
});
const here = () => document.body.appendChild(document.createElement("div"));

test("hostTheme reads JupyterLab's attribute", () => {
  document.body.dataset.jpThemeLight = "false";
  expect(hostTheme(here())).toBe("dark");
  document.body.dataset.jpThemeLight = "true";
  expect(hostTheme(here())).toBe("light");
});
test("hostTheme reads Colab's and VS Code's signs", () => {
  document.documentElement.setAttribute("theme", "dark");
  expect(hostTheme(here())).toBe("dark");
  document.documentElement.removeAttribute("theme");
  document.body.className = "vscode-dark";
  expect(hostTheme(here())).toBe("dark");
});
test.each([
  ["vscode-light", "light"],
  ["vscode-dark", "dark"],
  ["vscode-high-contrast", "dark"],
  ["vscode-high-contrast-light", "light"],
  ["vscode-high-contrast vscode-high-contrast-light", "light"],
  ["vscode-high-contrast-light vscode-high-contrast", "light"],
])("hostTheme of VS Code's %s is %s", (classes, theme) => {
  document.body.className = classes;
  expect(hostTheme(here())).toBe(theme);
});
test("hostTheme falls back to the colour behind the widget", () => {
  document.body.style.backgroundColor = "rgb(17, 18, 20)";
  expect(hostTheme(here())).toBe("dark");
});
test("resolve(choice) lets a chosen theme win over the host", () => {
  document.body.dataset.jpThemeLight = "false";
  expect(resolve("light", here())).toBe("light");
  expect(resolve("auto", here())).toBe("dark");
});
test("watchTheme calls back on a change, and not after the abort", async () => {
  const life = new AbortController();
  let calls = 0;
  watchTheme(() => calls++, life.signal);
  document.body.dataset.jpThemeLight = "false";
  await settled();
  expect(calls).toBe(1);
  life.abort();
  document.body.dataset.jpThemeLight = "true";
  await settled();
  expect(calls).toBe(1);
});
