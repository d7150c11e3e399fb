// Stands in for the theme's file of the same name, which draws icons that this book does not use and weighs 1.5 MB.
// The icons that the book shows come from the theme's web font.
