/** The bundle of the edit panel and of what compares predictions and texts. */

import "./styles/edit.css";
import { entry } from "./entry.js";
import { editView } from "./views/edit/edit_view.js";
import { generationView } from "./views/edit/generation_view.js";
import { predictionView } from "./views/edit/prediction_view.js";

export default entry({ edit: editView, predictions: predictionView, generations: generationView });
