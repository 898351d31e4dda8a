/** Dragging the ends of the subject along the column of tokens. */

import type { GridState } from "../../grid_state.js";
import { rowHeight } from "./token_labels.js";

export function subjectDrag(state: GridState, subject?: (start: number, stop: number) => void) {
  let held: 0 | 1 | null = null;

  const stay = () => {
    held = null;
    state.draft.value = null;
  };

  return {
    grips: subject !== undefined,
    grip: (end: 0 | 1) => (event: PointerEvent) => {
      if (event.button !== 0) return;
      event.preventDefault();
      (event.target as HTMLElement).setPointerCapture?.(event.pointerId);
      held = end;
    },
    drag(event: PointerEvent): void {
      const info = state.trace.value;
      const column = (event.target as HTMLElement).closest(".rw-tokens");
      if (held === null || !info || !column) return;
      const [start, stop] = info.subject_span;
      const y = event.clientY - column.getBoundingClientRect().top;
      // The border between two rows that is nearest.
      const at = Math.round(y / rowHeight(column));
      state.draft.value = {
        of: info,
        span: held
          ? [start, Math.max(start + 1, Math.min(info.tokens.length, at))]
          : [Math.max(0, Math.min(stop - 1, at)), stop],
      };
    },
    drop(): void {
      const draft = state.draft.value;
      const info = state.trace.value;
      held = null;
      if (!draft || draft.of !== info) return;
      if (String(draft.span) === String(info.subject_span)) state.draft.value = null;
      else subject?.(...draft.span);
    },
    stay,
  };
}
