/** The bundle of the explorer. */

import "./styles/trace.css";
import { entry } from "./entry.js";
import { explorerView } from "./views/trace/explorer_view.js";

export default entry({ explorer: explorerView });
