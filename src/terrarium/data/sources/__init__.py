"""Where footage comes from: environments (`gymnasium`), video files (`video`) and HDF5 files (`h5`)."""
