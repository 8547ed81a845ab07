"""The trader's page: one template, plain ES modules, and its view."""
