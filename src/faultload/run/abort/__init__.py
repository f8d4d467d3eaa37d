"""Stop conditions: watched once a second, beside the fault engine and never in its process."""
