"""The file that leaves cnntk: what stands in it, that it is whole, how it tests itself."""
