"""Hand-To-Age: how much a machine can read from the radiograph of a child's hand."""
