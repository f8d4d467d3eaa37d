"""A package, for the platform that its tests share ends with it (`scope="package"`)."""
