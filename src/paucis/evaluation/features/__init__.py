"""Features of pixels as pictures: in two dimensions, by region, by how alike they are."""
