/** The bundle of the grid and the explorer. */

import "./styles/trace.css";
import { entry } from "./entry.js";
import { explorerView } from "./views/explorer_view.js";
import { gridView } from "./views/grid_view.js";

export default entry({ grid: gridView, explorer: explorerView });
