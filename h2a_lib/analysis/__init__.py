"""From predictions to answers: age, sex, clusters, and where a network looks."""
