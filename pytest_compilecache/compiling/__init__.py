"""The only importer of torch: what the compiler did, and how it is asked."""
