"""faultload."""
