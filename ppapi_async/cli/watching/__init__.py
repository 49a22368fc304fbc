"""What `ppapi watch` does with the changes of many accounts."""
