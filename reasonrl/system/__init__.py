"""What every room may use of the operating system: cores, processes, retries, text for terminals."""
