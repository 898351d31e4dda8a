/** What is measured, as a formula: the answers are text of any direction. */

import { html, type TemplateResult } from "lit-html";
import { type Measured, tokenLabel } from "../../format.js";

export function formula({ metric, answer, against }: Measured, most?: number): TemplateResult {
  const [one, other] = [tokenLabel(answer, most), tokenLabel(against, most)];
  if (metric === "logit_difference") return html`logit(<bdi>${one}</bdi>) − logit(<bdi>${other}</bdi>)`;
  return html`${metric === "logprob" ? "log p" : "p"}(<bdi>${one}</bdi>)`;
}
