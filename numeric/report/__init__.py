"""Pages and plots of everything that was found."""
