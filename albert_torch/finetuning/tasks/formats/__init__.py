"""The file formats of data sets that are not tables with one example per row."""
