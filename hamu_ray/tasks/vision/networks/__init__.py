"""Networks that the vision task builds itself."""
