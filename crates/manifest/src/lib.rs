//! hythe.yaml: raw text to model, with every problem and its position.
