/** The bundle of what shows a sweep. */

import "./styles/sweep.css";
import { entry } from "./entry.js";
import { sweepView } from "./views/sweep/sweep_view.js";

export default entry({ sweep: sweepView });
