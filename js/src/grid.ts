/** The bundle of the recorded grid, which notebooks and pages keep: nothing of what needs a kernel. */

import "./styles/grid.css";
import { entry } from "./entry.js";
import { gridView } from "./views/trace/grid_view.js";

export default entry({ grid: gridView });
