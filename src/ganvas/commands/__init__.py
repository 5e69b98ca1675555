"""What the command line can do: one function a verb, torch and all that needs it imported inside."""
