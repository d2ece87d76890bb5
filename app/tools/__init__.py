"""What models write when they call tools: one streamed parser per format, chosen by
`formats.py`."""
